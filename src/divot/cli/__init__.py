"""Commands (typer and rich), no logic: each reads its options, calls one function and says what came out.

    main.py         `divot`: the list of commands; errors become one line
    options.py      every option that several commands share, once
    screen.py       what is printed where: results, JSON, progress
    journeys.py     demo, encode, decode, reconstruct
    models.py       info, inspect, convert
    data.py         data story, check
    world.py        world preview
    evaluate.py     evaluate reconstruction
    train.py        train tokenizer, detokenizer, vae

No module here imports torch at the top: `divot --help` has to answer at once.
"""
