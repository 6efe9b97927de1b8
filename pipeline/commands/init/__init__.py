"""`compress init`: a recipe of one's own, from a look at the images and the teacher.

`looking` sees what is there, `guesses` are the rules for what nobody said, `plan` is both together,
`tables` and `text` make a file of it, and `command` writes that once a run would take it.
"""
