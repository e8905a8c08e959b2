"""Parts that hold other parts: chains, residuals, two tiers, quantised queries, layouts of stores."""
