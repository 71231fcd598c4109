"""`pair twin`: one service is recorded, the contract that it lacks is written, and two replaying servers are compared."""
