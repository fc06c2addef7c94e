"""What every broker promises, as checks that any broker can be run through.

`case` is what a check gets, `factories` the brokers (a new one adds its factory there), `publishing`,
`keeping`, `inboxes`, `unnamed`, `unbegun` and `nodes` the checks, `model` all of it at random.
`test_broker_contract.py` runs them; `test_broker_contract_bites.py` shows that a broker with a fault does not
get through.
"""
