"""The gate: does what was measured keep the budget, and how sure is that?

`metrics` says what can be limited, `evidence` what there is to judge, `judging` holds one against
the other, `verdict` is the answer as a record, and `formats` writes it for a person or a machine.
"""
