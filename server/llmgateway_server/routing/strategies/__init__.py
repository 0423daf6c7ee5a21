"""How targets are ordered: pure functions of what is known of them, of the request and of injected chance.

`names` has the strategies' names, `contenders` the data, a module for each group of formulas the scores; `table` puts
them into rows and `order` reads the rows. docs/routing.md has the formulas in one place.
"""
