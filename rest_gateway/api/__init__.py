"""What every resource under ``/api`` shares: problem details, negotiation, conditions, bodies, tensors."""
