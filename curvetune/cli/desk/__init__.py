"""Commands for who must convince a reviewer."""
