"""The ways in. A door knows its routes, which headers pass, how streams are named, and how answers and refusals look.

`base.Door` is the interface, `listed.DOORS` the list. A listener carries one or several doors; all of them lead to the
same handler, and nothing else in orchd asks by which way a job has come.
"""
