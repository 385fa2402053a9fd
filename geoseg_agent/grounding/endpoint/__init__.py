"""An OpenAI-compatible endpoint on the wire: what it is, what it is sent, what it answers, and when it refuses."""
