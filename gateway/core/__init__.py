"""The pure middle: what a request may do, decided from values alone.

Words, one meaning each:

- **credential**: what was presented; **key**: the record it names; **principal**: who that is, for the upstream.
- **route**: methods and a path pattern that lead to a scope, limits and an upstream; an **upstream** has **targets**.
- **facts**: what policy may see of a request; **decision**: admit, or a **denial**.
- a **limiter** takes **charges** from **token buckets**.
- **usage event**: what is recorded of one request; **journal**: where it is kept locally; **sink**: where it goes.
- **snapshot**: one immutable, compiled configuration.

No I/O, no clock, no logging and no randomness in here: time comes in as an argument.
"""
