"""Downloads of exports: to a file, which is whole or does not exist, or as chunks."""

from stream_tasks._downloads.downloads import BlockingChunks, Chunks, chunks, save
from stream_tasks._downloads.export import export_of
from stream_tasks._downloads.fetching import Source

__all__ = ["BlockingChunks", "Chunks", "Source", "chunks", "export_of", "save"]
