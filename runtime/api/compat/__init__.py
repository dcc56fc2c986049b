"""What lets programs written for other SDKs run here unedited: `python -m tilewright.compat` is its command line."""
