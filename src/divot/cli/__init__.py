"""Commands (typer and rich), no logic: each reads its options, calls one function and says what came out.

    main.py         `divot`: the list of commands; errors become one line
    options.py      every option that several commands share, once
    screen.py       what is printed where: results, JSON, progress
    journeys.py     demo, encode, decode, reconstruct
    language.py     ask, caption, chat, generate, merge
    story.py        story
    studies.py      gallery
    models.py       info, inspect, convert
    data.py         data story, check, shards, datasets
    world.py        world preview
    evaluate.py     evaluate reconstruction, world
    train.py        train vae, tokenizer, distill, critic, detokenizer, lm, adapt

No module here imports torch at the top: `divot --help` has to answer at once.
"""
