"""The Blenders of a node: found, probed, kept warm, watched, killed.

`find.find_blenders` lists candidates, `probe.probe` tells what each really can do,
`session.BlenderSession` renders frames with one of them::

    session = BlenderSession(scratch, on_log=print, options=SessionOptions(readable=(workspaces,)))
    await session.start(info)                     # nothing to do while that Blender is warm
    await session.open(spec, workspace)           # nothing to do while that job is open
    rendered = await session.render(12, output)   # files, thumbnail, statistics, warnings
    await session.close()

Everything that can go wrong with an attempt is an `attempt.AttemptFailed` with the kind the farm
needs, one sentence for people, and the last lines of Blender's log.
"""
