"""Spaces: values that survive a round trip through a config, and that find the first wrong value of a batch."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from creo.errors import CreoError, SpaceError, UnknownName
from creo.spaces import Categories, Continuous, Ordinal, Space, Table, Tokens, bits_per_dim, space_from_dict

shapes = st.lists(st.integers(1, 5), max_size=4).map(tuple)
spellings = st.text('aé\n" 日', max_size=3)


@st.composite
def tokens(draw):
    size = draw(st.integers(2, 5))
    symbols = draw(st.none() | st.lists(spellings, min_size=size, max_size=size).map(tuple))
    return Tokens(draw(st.integers(1, 6)), size, symbols)


@st.composite
def categories(draw):
    size = draw(st.integers(1, 5))
    return Categories(size, draw(st.none() | st.lists(spellings, min_size=size, max_size=size).map(tuple)))


ordinals = st.builds(Ordinal, shapes, st.integers(2, 70000))
scalars = st.one_of(st.just(Continuous()), st.builds(Ordinal, st.just(()), st.integers(2, 400)), categories())
tables = st.lists(st.tuples(spellings, scalars), min_size=1, max_size=4, unique_by=lambda c: c[0]).map(Table)
spaces = st.one_of(st.builds(Continuous, shapes), ordinals, tokens(), categories(), tables)


def size_of(space: Space) -> int:
    return space.levels if isinstance(space, Ordinal) else space.size


def draw_batch(space: Space, n: int) -> torch.Tensor:
    """Random raw data of any space, written independently of the space's own checks."""
    if isinstance(space, Table):
        return torch.stack([draw_batch(s, n).double() for s in space.column_spaces], 1)
    if isinstance(space, Continuous):
        return torch.randn(n, *space.shape)
    return torch.randint(size_of(space), (n, *space.shape)).to(space.dtype)


# --- values ------------------------------------------------------------------------------------------------------


@given(spaces)
def test_round_trip_through_json(space):
    written = json.loads(json.dumps(space.to_dict()))
    read = space_from_dict(written)
    assert read == space
    assert hash(read) == hash(space)
    assert read.to_dict() == space.to_dict()


@given(spaces)
def test_dims_is_the_number_of_scalars(space):
    assert space.dims == math.prod(space.shape) == draw_batch(space, 1).numel()
    assert "\n" not in repr(space)


@given(spaces, spaces)
def test_spaces_are_equal_when_their_configs_are(a, b):
    assert (a == b) == (a.to_dict() == b.to_dict())


@pytest.mark.parametrize("space", [Continuous((2,)), Ordinal((2,), 3), Tokens(2, 3), Categories(3)])
def test_spaces_are_immutable(space):
    with pytest.raises(AttributeError):
        space.shape = (5,)


def test_a_number_is_a_shape_of_one_axis():
    assert Continuous(3) == Continuous((3,))
    assert Ordinal(3, 4).shape == (3,)


def test_table_from_a_mapping_or_pairs():
    columns = {"a": Continuous(), "b": Categories(3)}
    assert Table(columns) == Table(tuple(columns.items()))
    assert Table(columns).names == ("a", "b")
    assert Table(columns).column_spaces == (Continuous(), Categories(3))
    assert repr(Table(columns)) == "Table(2 columns: 1 Continuous, 1 Categories)"


@pytest.mark.parametrize(
    ("space", "image", "video"),
    [
        (Ordinal((1, 8, 8), 17), True, False),
        (Continuous((3, 4, 5)), True, False),
        (Ordinal((2, 8, 8), 17), False, True),
        (Continuous((8, 4, 5)), False, True),
        (Ordinal((8, 8), 17), False, False),
        (Tokens(3, 2), False, False),
        (Categories(3), False, False),
        (Table({"a": Continuous()}), False, False),
    ],
)
def test_pictures_are_numeric_with_one_or_three_channels_and_videos_with_others(space, image, video):
    assert space.is_image is image
    assert space.is_video is video
    assert space.is_grid is (image or video)


def test_counting_and_lebesgue_measure():
    assert [s.discrete for s in (Ordinal((), 2), Tokens(1, 2), Categories(1))] == [True] * 3
    assert not Continuous().discrete


@pytest.mark.parametrize(
    ("space", "dtype"),
    [
        (Continuous((2,)), torch.float32),
        (Ordinal((2,), 256), torch.uint8),
        (Ordinal((2,), 257), torch.int64),
        (Tokens(2, 3), torch.int64),
        (Categories(2), torch.int64),
        (Table({"a": Categories(2)}), torch.float64),
    ],
)
def test_dtype_of_stored_data(space, dtype):
    assert space.dtype == dtype


def test_bits_per_dim_of_a_fair_coin_is_one():
    assert bits_per_dim(8 * math.log(2), Ordinal((2, 4), 2)) == pytest.approx(1.0)
    assert np.allclose(bits_per_dim(np.array([0.0, math.log(2)]), Categories(2)), [0, 1])
    assert torch.allclose(bits_per_dim(torch.tensor([3.0]), Continuous((3,))), torch.tensor(1 / math.log(2)))


# --- checking a batch ----------------------------------------------------------------------------------------------


@given(spaces, st.integers(0, 4))
def test_data_of_the_space_passes_and_comes_back_as_it_is(space, n):
    x = draw_batch(space, n)
    assert space.check(x) is x


@given(spaces, st.integers(0, 4))
def test_wrong_shape_names_both_shapes(space, n):
    with pytest.raises(SpaceError) as error:
        space.check(draw_batch(space, n)[..., None], "pixels")
    assert str(error.value).startswith("pixels must have shape (B")
    assert str((n, *space.shape, 1)) in str(error.value)
    assert "\n" not in str(error.value)


@given(spaces)
def test_wrong_kind_of_dtype_names_both(space):
    x = draw_batch(space, 2)
    wrong = x.long() if x.is_floating_point() else x.float()
    with pytest.raises(
        SpaceError, match=rf"must be a (floating-point|integer) tensor .*received {wrong.dtype}"
    ):
        space.check(wrong)


def test_complex_is_neither():
    with pytest.raises(SpaceError, match="complex64"):
        Continuous((2,)).check(torch.zeros(1, 2, dtype=torch.complex64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_precision_is_continuous_data(dtype):
    Continuous((2,)).check(torch.zeros(3, 2, dtype=dtype))


@given(st.one_of(st.builds(Ordinal, shapes, st.integers(2, 300)), tokens(), categories()), st.data())
def test_first_value_out_of_range_is_found(space, data):
    x = draw_batch(space, 3).long()
    at = data.draw(st.integers(0, x.numel() - 1))
    bad = data.draw(st.sampled_from([-1, size_of(space), size_of(space) + 7]))
    x.view(-1)[at] = bad
    index = tuple(int(i) for i in np.unravel_index(at, x.shape))
    with pytest.raises(SpaceError) as error:
        space.check(x)
    assert f"value {bad} at index {index}" in str(error.value)
    assert str(error.value).endswith(f"holds 0..{size_of(space) - 1}")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_counted_and_located(bad):
    x = torch.zeros(4, 2, 3)
    x[1, 1, 2] = x[3, 0, 0] = bad
    with pytest.raises(SpaceError, match=r"2 NaN or infinite values, the first at index \(1, 1, 2\)"):
        Continuous((2, 3)).check(x)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([0.0, 1.5, 0.0], "column 'b' of x must hold whole numbers; row 1 has 1.5"),
        ([0.0, 3.0, 0.0], "column 'b' of x has value 3.0 at index"),
        ([0.0, 0.0, -1.0], "column 'c' of x has value -1.0 at index"),
        ([math.nan, 0.0, 0.0], "x has 1 NaN or infinite values, the first at index \\(1, 0\\)"),
    ],
)
def test_table_names_the_column(value, message):
    space = Table({"a": Continuous(), "b": Categories(3), "c": Ordinal((), 4)})
    x = torch.tensor([[0.5, 2.0, 3.0], value], dtype=torch.float64)
    with pytest.raises(SpaceError, match=message):
        space.check(x)


def test_shape_check_alone_does_not_look_at_values():
    Ordinal((1,), 2).check_shape(torch.tensor([[7]]))
    Continuous((1,)).check_shape(torch.tensor([[math.nan]]))


# --- what cannot be a space ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Continuous((0,)), "a size in a shape must be an integer of at least 1; received 0"),
        (lambda: Continuous((2, -1)), "a size in a shape must be an integer of at least 1; received -1"),
        (lambda: Continuous(3.5), "a size in a shape must be an integer of at least 1; received 3.5"),
        (lambda: Continuous(("a",)), "a size in a shape must be an integer of at least 1; received 'a'"),
        (lambda: Continuous(None), "a size in a shape must be an integer of at least 1; received None"),
        (lambda: Ordinal((2,), 1), "levels must be an integer of at least 2; received 1"),
        (lambda: Ordinal((2,), 2.5), "levels must be an integer of at least 2; received 2.5"),
        (lambda: Tokens(0, 2), "length must be an integer of at least 1; received 0"),
        (lambda: Tokens(2, 1), "size must be an integer of at least 2; received 1"),
        (lambda: Tokens(2, 3, ("a",)), "symbols must be 3 names, one each; received ('a',)"),
        (lambda: Categories(0), "size must be an integer of at least 1; received 0"),
        (lambda: Categories(2, ("a", "b", "c")), "names must be 2 names, one each; received ('a', 'b', 'c')"),
        (lambda: Table({}), "a Table needs at least one column"),
        (
            lambda: Table((("a", Continuous()), ("a", Continuous()))),
            "column names of a Table must differ; repeated: ['a']",
        ),
        (
            lambda: Table({"a": Continuous((2,))}),
            "column 'a' must be a scalar Continuous, Ordinal or Categories; received Continuous(shape=(2,))",
        ),
        (
            lambda: Table({"a": Tokens(1, 2)}),
            "column 'a' must be a scalar Continuous, Ordinal or Categories; received Tokens(length=1, size=2)",
        ),
    ],
)
def test_what_cannot_be_a_space_is_said_in_one_line(make, message):
    with pytest.raises(SpaceError) as error:
        make()
    assert str(error.value) == message


@pytest.mark.parametrize(
    "make",
    [
        lambda: Continuous((1.5, 2)),
        lambda: Continuous("12"),
        lambda: Continuous(True),
        lambda: Ordinal((2,), "abc"),
        lambda: Ordinal((2,), None),
        lambda: Ordinal((2,), math.nan),
        lambda: Ordinal((2,), math.inf),
        lambda: Categories(3, names=5),
        lambda: Table([("a", 3)]),
        lambda: Table(3),
        lambda: Table([3]),
        lambda: Continuous((2,)).check([1, 2]),
        lambda: Continuous((2,)).check(np.zeros((3, 2))),
        lambda: space_from_dict({"kind": "Ordinal", "shape": [2], "bogus": 1}),
        lambda: space_from_dict({"kind": "Tokens", "length": 3}),
        lambda: space_from_dict({"kind": "Table"}),
        lambda: space_from_dict({"kind": ["a"]}),
    ],
)
def test_what_is_of_the_wrong_type_is_one_line_too(make):
    with pytest.raises(CreoError) as error:
        make()
    assert str(error.value)
    assert "\n" not in str(error.value)


def test_numpy_integers_and_lists_of_pairs_are_welcome():
    assert Continuous(np.int64(3)) == Continuous((3,))
    assert Table([["a", Continuous()]]) == Table({"a": Continuous()})
    assert hash(Table([["a", Continuous()]])) == hash(Table({"a": Continuous()}))


def test_unknown_kind_in_a_config_suggests():
    with pytest.raises(UnknownName, match="unknown kind of space 'Ordinals'; did you mean 'Ordinal'?"):
        space_from_dict({"kind": "Ordinals"})
    with pytest.raises(CreoError, match="known: Continuous, Ordinal, Tokens, Categories, Table"):
        space_from_dict({"shape": [2]})


def test_reading_a_config_leaves_it_as_it_was():
    fields = {"kind": "Continuous", "shape": [2]}
    space_from_dict(fields)
    assert fields == {"kind": "Continuous", "shape": [2]}


@pytest.mark.parametrize(
    "make",
    [
        lambda: Continuous((1.5, 2)),
        lambda: Continuous("12"),
        lambda: Continuous(True),
        lambda: Ordinal((2,), "abc"),
        lambda: Ordinal((2,), None),
        lambda: Ordinal((2,), float("nan")),
        lambda: Ordinal((2,), float("inf")),
        lambda: Table([("a", 3)]),
        lambda: Table(3),
        lambda: Table([3]),
        lambda: Categories(3, names=5),
        lambda: Continuous((2,)).check([1, 2]),
        lambda: space_from_dict({"kind": "Ordinal", "shape": [2], "bogus": 1}),
        lambda: space_from_dict({"kind": "Tokens", "length": 3}),
        lambda: space_from_dict({"kind": "Table"}),
        lambda: space_from_dict({"kind": ["a"]}),
    ],
)
def test_whatever_is_wrong_is_one_line(make):
    with pytest.raises(CreoError) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_integers_of_any_kind_are_sizes_and_lists_make_equal_tables():
    assert Continuous(torch.tensor([3]).numpy()[0]) == Continuous((3,))
    assert Table([["a", Continuous()]]) == Table((("a", Continuous()),))
    assert hash(Table([["a", Continuous()]])) == hash(Table({"a": Continuous()}))
