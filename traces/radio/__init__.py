"""Radio links: link budgets and attenuation by the atmosphere."""
