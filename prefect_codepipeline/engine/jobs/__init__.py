"""Jobs of custom actions: what workers poll for, acknowledge and answer."""
