"""Look-ups over HTTP, and pages that show runs: the layer's verbs behind routes. Start it with ``lineage serve``.

Reading order::

    app.py            create_app(ports): puts everything below together; nothing happens when a module is imported
    dependencies.py   what routes ask for: the ports, a run's id, a model's digest
    schemas.py        pages of compact runs, data of a run or model, series of metrics; whole records are ``lineage.model``'s own
    listing.py        filters, cursor and one page of runs: the API and the page of runs share it
    routes/           one file for each resource under /api/v1, and /healthz, /readyz, /metrics
    entity.py         bodies with an ETag
    access.py         who asks, and what they may do: tokens and scopes
    limits.py         how often, how much at once, and how slowly
    patience.py       connections whose request does not come are closed
    observe.py        request ids, one line of log for each request, figures for Prometheus
    audit.py          who changed what, and who was refused
    logs.py           the log as lines of JSON
    problems.py       every error as ``application/problem+json`` (RFC 9457): one table from error class to status
    documentation.py  OpenAPI and its page at /docs, without an outside host
    examples.py       the example record of the documentation; with example_findings.py and example_store.py
    guard.py          security headers, and which host names are answered
    pages/            server-rendered pages, one file for each; with templates/ and static/
    row_pictures.py   pictures of recorded rows with their boxes
    charts.py         geometry of a metric's line chart; templates/chart.html draws it

``routes/recording.py`` and ``routes/objects.py`` are the store of clients that record to this service. Look-ups only read. One thing may be
written on the way: a run whose process is gone is marked as aborted, as every look-up does.
Recorded commands are never executed here: ``routes/materialisations.py`` queues what workers do (``lineage worker``).
"""
