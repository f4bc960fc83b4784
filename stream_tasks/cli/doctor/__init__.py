"""The checks of the command ``doctor``.

- ``report``: what the checks found, and their exit codes
- ``settings``: key, secret, base URL and the environment, before anything is sent
- ``network``: DNS, TCP, TLS, and one request
- ``answer``: what the answer says about the clock, the credentials and the quota
- ``examination``: all of them, in order
"""
