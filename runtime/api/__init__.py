"""The programming interfaces that inference SDKs document, over sessions and queues of results that all share."""
