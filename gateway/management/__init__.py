"""Control plane: what the gateway answers itself, to the people who own keys and to operators."""
