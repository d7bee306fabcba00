"""Three honest little services for the gateway to stand in front of: budgets, customers and products.

They follow sections 6 and 8 of the wire contract, so that clients of the real services work through them. A *document*
is what a client wrote, kept as JSON; a *resource* is a class whose methods answer the requests about one kind of
document; a *backend* is a process that serves some resources. They know nothing of keys: the gateway has checked those.
"""
