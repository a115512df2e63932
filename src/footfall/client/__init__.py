"""The client library: events out of a shop. What users import is exported by `footfall` itself."""
