"""A multimodal model as judge: how well a mask answers a query, from 1 to 5, or which of two does it better.

    cases       what is judged                      composite   the one picture that the judge sees
    rubric      what it is asked, and read from it   desk        asking, counting, never paying twice (ledger)
    scoring     `judge`                              pairwise    `compare`
    judged      what comes of `judge`                agreement   of judges with each other and with people
    overlap     the computed score beside it         released    what the authors' released judge does instead

The judge never learns a number about the mask that it rates, a file's name, or a list of classes.
"""
