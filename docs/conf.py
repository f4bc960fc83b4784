"""How the site is built: `nox -s docs` does it, with every warning as an error."""

import inspect
from typing import Any

import click
from docutils import nodes
from docutils.nodes import Node
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

from stream_tasks import Stream, __version__
from stream_tasks.cli.app import commands

project = "stream_tasks"
author = "The stream_tasks authors"
copyright = author  # noqa: A001 - Sphinx's own name
version = release = __version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]
rst_prolog = ".. currentmodule:: stream_tasks\n"
suppress_warnings = ["ref.python"]  # that a short name in a signature, such as `type`, has several targets

# A name in single backticks is a link. One in small letters may be a parameter, which has no target.
default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [
    ("py:obj", r"[a-z_]\w*(\.[a-z_]\w*)?"),
    ("py:obj", r"(aiohttp|asyncio|ssl|collections|pathlib|logging)\..+"),
    ("py:(class|data|exc|meth)", ".*"),  # types in signatures, most of which are Python's own
]

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"stream_tasks {release}"
html_static_path = ["_static"]
html_theme_options = {"navigation_with_keys": True}
html_show_sourcelink = False
html_copy_source = False
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True

# The blocking methods wrap coroutines, which Sphinx would find and show as such.
for method in vars(Stream).values():
    if inspect.isfunction(method) and hasattr(method, "__wrapped__"):
        method.__signature__ = inspect.signature(method)
        del method.__wrapped__


MODULES = (
    ".exceptions", ".endpoints", ".webhooks", ".testing", ".durable", ".instrumentation", ".progress",
)  # fmt: skip


def find_in_other_modules(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contents: Any
) -> Node | None:
    """Find a name that a docstring says without its module."""
    if node.get("refdomain") != "py":
        return None
    python = env.domains["py"]
    for module in ("", *MODULES):
        name = f"stream_tasks{module}.{node['reftarget']}"
        if name in python.objects:
            found = python.objects[name]
            return make_refnode(app.builder, node["refdoc"], found.docname, found.node_id, contents, name)
    return None


class Commands(SphinxDirective):
    """``.. commands::`` shows the help of each command of the command line."""

    def run(self) -> list[Node]:
        """Return a section for each command."""
        found: list[Node] = []
        for name, command in commands.commands.items():
            with click.Context(command, info_name=f"stream-tasks {name}", max_content_width=80) as context:
                told = command.get_help(context)
            section = nodes.section(ids=[f"command-{name}"], names=[f"command-{name}"])
            section += [nodes.title(text=name), nodes.literal_block(told, told, language="text")]
            found.append(section)
        return found


def setup(app: Sphinx) -> None:
    """Register what Sphinx asks for."""
    app.add_directive("commands", Commands)
    app.connect("missing-reference", find_in_other_modules)
