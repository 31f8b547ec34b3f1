"""The release before this one, and the schema of this one: what serves stays up while it is replaced."""
