"""The processes: receiver, responder, workers and `up`, what each is given, and how they are started."""
