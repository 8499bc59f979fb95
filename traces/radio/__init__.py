"""The radio: link budgets, and what weather takes from them."""
