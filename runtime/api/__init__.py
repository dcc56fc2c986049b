"""The programming interfaces that inference SDKs document, over one session core. None is here yet."""
