"""What a connection tells the application of a request, by these names in the state of its scope."""

TRANSPORT = "transport"  # of the connection, where the application is behind one
PLACE = "place"  # that the request has among those that are worked on
REFUSED = "refused"  # the status by which the connection has refused a request that was under way
