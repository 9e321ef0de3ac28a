"""Trees of messages with ranked replies: the OpenAssistant form."""
