"""The Formance dialect: the orchestration operations of that vendor's SDKs, v1 and v2, over the same workflows and instances."""
