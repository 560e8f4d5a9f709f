"""Who may talk to this farm and how they know it is this farm: tokens, certificate, joining."""
