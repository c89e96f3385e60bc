"""Plans: what a clip can be drawn from, in a few words and numbers."""

from divot.world import Background, Event, Scene, Sprite, sample_scene
from divot.world.plans import plan

PLAIN = Background("plain", "grey")


def scene(*events, background=PLAIN):
    return Scene(background, (Sprite("star", "red", 16, 16, 48, events),))


def test_one_sprite_with_two_events_and_a_texture():
    texture = Background("texture", "dark blue", texture="stripes", angle_deg=60.0, period_px=8.0, contrast=9)
    events = (
        Event("moves_right", 0, 7, distance_px=16),
        Event("bounces", 8, 15, distance_px=20, num_bounces=2),
    )
    wanted = "red star 25 at 25 75 moves right to 50 75, bounces 2 31; striped dark blue 60 12"
    assert plan(scene(*events, background=texture)) == wanted


def test_every_motion_has_its_numbers():
    told = {
        Event("moves_up_left", distance_px=8 * 2**0.5): "moves up and to the left to 12 62",
        Event("grows", to_size_px=24): "grows 38",
        Event("shrinks", to_size_px=10): "shrinks 16",
        Event("spins", turn_deg=-210): "spins anticlockwise 210",
        Event("changes_colour", 9, 9, to_colour="pink"): "turns pink 9",
        Event("appears", 5, 5): "appears 5",
        Event("disappears", 11, 11): "disappears 11",
        Event("stays"): "stays still",
    }
    for event, words in told.items():
        assert plan(scene(event)) == f"red star 25 at 25 75 {words}; plain grey"


def test_two_sprites_act_at_once_or_in_turn():
    one = Sprite("star", "red", 16, 16, 48, (Event("disappears", 5, 5),))
    two = Sprite("ring", "blue", 16, 48, 16, (Event("appears", 5, 5),))
    later = Sprite("ring", "blue", 16, 48, 16, (Event("appears", 9, 9),))
    far = Background("gradient", "grey", to_colour="brown", angle_deg=315.0)
    begin, end = "red star 25 at 25 75 disappears 5", "gradient from grey to brown 315"
    assert plan(Scene(far, (one, two))) == f"{begin}; and blue ring 25 at 75 25 appears 5; {end}"
    assert plan(Scene(far, (one, later))) == f"{begin}; then blue ring 25 at 75 25 appears 9; {end}"


def test_scenes_that_differ_have_plans_that_differ():
    told = {plan(sample_scene(5, index)) for index in range(300)}
    assert len(told) == 300
