"""`make bench`: what each of our own paths costs, beside the floor under it, so that a later change can be judged.

Not a comparison of wires (that is `run`): closed loops, no schedule, no verdict; CPU per request of the processes that
serve it, and its ratio to the same transport with nothing behind it.
"""
