"""The closed vocabulary of names in the mini pool.

A tiny policy learns to copy names from its prompt last of all, so each of these
is one token of the mini tokenizer (see `text.tokenizer.train`).
"""

OWNER = "mini"

SOURCES = tuple(
    """
    acorn agate alder amber anise apple arrow aspen atlas bacon badge bagel banjo
    basil beach birch bison bloom board bread brick brook cabin camel candy canoe
    cedar chalk charm chess chive clock cloud clove coach comet coral crane cream
    crown daisy delta dough dove drum eagle earth elder ember fable fern field
    finch flame flint flora forge frost fudge ginger globe grain grape grove hazel
    heron honey horse iris ivory ivy jade jazz jelly juice kayak kite koala lemon
    lilac lily lime linen lotus lunar mango maple marsh melon mint mocha moss
    myrtle nectar noble north oasis ocean olive onyx opal orbit otter oyster panda
    peach pearl pecan penny piano pine plaza plum polar poppy prism quail quartz
    raven reef river robin rose sage satin scout shell silk slate solar spice
    spruce stone sugar swan tango thyme tiger topaz torch tulip umber velvet viola
    walnut willow wren zebra
    """.split()
)

QUESTIONS = ("question", "prompt", "input", "problem", "query", "text", "ask", "task")
ANSWERS = (
    "answer",
    "target",
    "output",
    "solution",
    "response",
    "label",
    "reply",
    "gold",
)
QUALITIES = ("score", "rating", "quality", "votes")


TOPICS = tuple(
    f"{doing} {thing}"
    for doing, thing in zip(
        """
        counting naming drawing weighing mixing folding sharing finding painting
        reading timing packing joining planting washing cooking singing mending
        stacking trading guarding lifting pushing turning baking cutting sewing
        building moving sending
        """.split()
        * 4,
        """
        boats lamps chairs rivers kettles pillows ladders baskets bridges candles
        engines feathers gardens hammers islands jackets kitchens letters mirrors
        needles oceans parcels quilts ribbons saddles tables valleys wagons yards
        anchors barrels cables drums eggs fences gloves hats inks jars knots leaves
        maps nets oars pans quills ropes shoes tents urns vases wheels axes bells
        clocks doors easels flags grates hooks irons jugs keys locks masts nails
        ovens pumps rakes sails traps veils windows arches blankets carts dishes
        envelopes forks gates hoses inlets jewels kites lenses medals notes orchards
        plates queues rugs spoons towers umbrellas voices walls yarns zippers bowls
        coins dolls flutes games hinges images
        """.split(),
        strict=False,
    )
)
"""Topics of no mini task: demonstrations are retold about them, so that a policy
learns to compare a card's topic with the benchmark's and not to know the tasks."""


def quoted() -> tuple[str, ...]:
    """Returns every name as prompts and scripts write it, in quotation marks."""
    ids = tuple(f"{OWNER}/{name}" for name in SOURCES)
    columns = QUESTIONS + ANSWERS + QUALITIES
    return tuple(f'"{name}"' for name in ids + columns)
