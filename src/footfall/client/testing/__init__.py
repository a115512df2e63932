"""For engineers who test their shop. What they import is exported by `footfall.testing`."""
