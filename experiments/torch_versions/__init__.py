"""The core suite and the types on several versions of torch, each in an environment of its own."""
