"""Parameter groups against what each parameter should be trained with."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from kasoku.faults import ConfigError
from kasoku.nets.cnn import CNN
from kasoku.optim.groups import Groups
from kasoku.optim.plan import check_complete
from kasoku.optim.table import table
from tests.optim.nets import TinyGPT

LR, DECAY = 0.1, 0.01


def settings(net, groups):
    """(lr, weight decay) of each parameter by name."""
    names = {id(p): name for name, p in net.named_parameters()}
    return {names[id(p)]: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}


def test_no_decay_on_biases_norms_and_embeddings():
    net = TinyGPT()
    found = settings(net, Groups().split(net, LR, DECAY))
    decayed = {name for name, (_, decay) in found.items() if decay}
    assert decayed == {name for name in found if name.endswith(("qkv.weight", "out.weight", "head.weight"))}
    assert {lr for lr, _ in found.values()} == {LR}


def test_decay_everywhere_is_one_group():
    net = CNN(input_shape=(1, 8, 8), num_classes=10)
    (group,) = Groups(no_decay=False).split(net, LR, DECAY)
    assert group["name"] == "all"
    assert len(group["params"]) == len(list(net.parameters()))


def test_layer_decay_by_block():
    net = TinyGPT(depth=3)
    found = settings(net, Groups(layer_decay=0.5).split(net, LR, DECAY))
    expected = {"token": 4, "position": 4, "layers.0": 3, "layers.1": 2, "layers.2": 1, "norm": 1, "head": 0}
    for start, above in expected.items():
        lrs = {lr for name, (lr, _) in found.items() if name.startswith(start)}
        assert lrs == {LR * 0.5**above}, start


def test_rules_multiply_and_globs_and_expressions_match_whole_names():
    net = CNN(input_shape=(1, 8, 8), num_classes=10)
    rules = [
        {"match": "stages.*", "lr": 0.5},
        {"match": r"re:stages\.[01]\..*", "lr": 0.1, "weight_decay": 2},
        {"match": "head.weight", "weight_decay": 0},
    ]
    found = settings(net, Groups(rules=rules).split(net, LR, DECAY))
    assert found["stages.0.0.weight"] == pytest.approx((LR * 0.05, DECAY * 2))
    assert found["stages.2.0.weight"] == pytest.approx((LR * 0.5, DECAY))
    assert found["head.weight"] == (LR, 0.0)


def test_frozen_parameters_are_in_the_table_and_in_no_group():
    net = CNN(input_shape=(1, 8, 8), num_classes=10)
    groups = Groups(frozen=["stages.0.*"]).split(net, LR, DECAY)
    assert not any(p.requires_grad for p in net.stages[0].parameters())
    rows = table(net, groups)
    assert rows[-1] == ("frozen", 3, 32 * 9 + 64, 0.0, 0.0)
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in net.parameters())


def test_the_group_at_the_plain_lr_comes_first():
    net = TinyGPT()
    groups = Groups(layer_decay=0.9).split(net, LR, DECAY)
    assert groups[0]["lr"] == LR
    assert groups[0]["name"] == "decay"
    assert len({group["name"] for group in groups}) == len(groups)


def test_tied_weights_are_counted_once():
    net = TinyGPT(tied=True)
    groups = Groups().split(net, LR, DECAY)
    assert sum(len(group["params"]) for group in groups) == len(list(net.parameters()))
    assert settings(net, groups)["token.weight"] == (LR, 0.0)


def test_kinds_split_groups_in_their_order():
    net = TinyGPT()
    kinds = {name: "second" if "norm" in name else "first" for name, _ in reversed(list(net.named_parameters()))}
    groups = Groups(kinds=lambda module: dict(sorted(kinds.items(), key=lambda item: item[1]))).split(net, LR, DECAY)
    order = [group["kind"] for group in groups]
    assert order == sorted(order)
    assert groups[0]["name"].startswith("first_")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"frozen": ["hea.*"]}, ["optimizer.groups.frozen=hea.*", "matches no parameter", "did you mean head."]),
        ({"rules": [{"match": "re:(x"}]}, ["rules[0].match", "regular expression"]),
        ({"rules": [{"mach": "*"}]}, ["rules[0].mach", "did you mean match", "is missing"]),
        ({"rules": [{"match": "*", "lr": -1}, {"match": "*", "weight_decay": "x"}]}, ["rules[0].lr=-1", "rules[1]."]),
        ({"rules": ["head.*"]}, ["rules[0]=head.*", "must be a mapping"]),
        ({"frozen": ["*"]}, ["leaves no parameter to train"]),
        ({"one_lr": True, "layer_decay": 0.9}, ["layer_decay=0.9", "one lr for all"]),
        ({"one_lr": True, "rules": [{"match": "*", "lr": 2}]}, ["groups.rules", "one lr for all"]),
    ],
)
def test_faults_name_key_and_fix(options, words):
    with pytest.raises(ConfigError) as error:
        Groups(**options).split(CNN(input_shape=(1, 8, 8), num_classes=10), LR)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_check_complete_names_what_is_missing_or_twice():
    net = nn.Linear(2, 2)
    check_complete(net, [{"params": [net.weight, net.bias]}])
    with pytest.raises(ValueError, match=r"missing \['bias'\]"):
        check_complete(net, [{"params": [net.weight]}])
    with pytest.raises(ValueError, match=r"twice \['weight'\]"):
        check_complete(net, [{"params": [net.weight, net.bias]}, {"params": [net.weight]}])
    with pytest.raises(ValueError, match="1 not trainable"):
        check_complete(net, [{"params": [net.weight, net.bias, nn.Parameter(torch.zeros(1))]}])


@given(
    depth=st.integers(1, 4),
    tied=st.booleans(),
    no_decay=st.booleans(),
    layer_decay=st.none() | st.just(1.0) | st.floats(0.1, 0.999),  # nearer to 1, its powers round to one lr
    lr=st.floats(1e-4, 1),
    decay=st.floats(0, 1),
)
def test_every_parameter_is_in_one_group_whose_settings_are_unlike_the_others(
    depth, tied, no_decay, layer_decay, lr, decay
):
    net = TinyGPT(depth=depth, tied=tied)
    groups = Groups(no_decay=no_decay, layer_decay=layer_decay).split(net, lr, decay)
    check_complete(net, groups)
    assert len({(group["lr"], group["weight_decay"]) for group in groups}) == len(groups)
    assert max(group["lr"] for group in groups) == lr
    assert all(group["weight_decay"] in (0, decay) for group in groups)


def refused(net, **options):
    with pytest.raises(ConfigError) as error:
        Groups(**options).split(net, LR, DECAY)
    return [str(fault) for fault in error.value.faults]


ONE_LR = "has no effect: this optimizer has one lr for all parameters"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"layer_decay": 0}, ["optimizer.groups.layer_decay=0: must be a finite number > 0 and <= 1 or null"]),
        ({"layer_decay": 1.5}, ["optimizer.groups.layer_decay=1.5: must be a finite number > 0 and <= 1 or null"]),
        ({"frozen": [5]}, ["optimizer.groups.frozen=[5]: must be a text or a list in which each is a text, 5 is not"]),
        ({"frozen": ["re:(x"]}, ["optimizer.groups.frozen=re:(x: is no regular expression: missing ), unterminated"]),
        ({"frozen": ("*",)}, ["optimizer.groups.frozen=[*]: leaves no parameter to train"]),
        ({"rules": [{"match": "re:[x"}]}, ["optimizer.groups.rules[0].match=re:[x: is no regular expression"]),
        ({"rules": [{}]}, ["optimizer.groups.rules[0].match: is missing; give a glob over parameter names"]),
        ({"rules": [{"match": 5}]}, ["optimizer.groups.rules[0].match=5: must be"]),
        ({"one_lr": True, "layer_decay": 0.9}, [f"optimizer.groups.layer_decay=0.9: {ONE_LR}; set it to null"]),
        (
            {"one_lr": True, "rules": ({"match": "*", "lr": 2}, {"match": "*"})},
            [f"optimizer.groups.rules=[{{match:*,lr:2}},{{match:*}}]: {ONE_LR}; leave lr out of the rules"],
        ),
        ({"one_lr": True, "rules": ["*"]}, ["optimizer.groups.rules[0]=*: must be a mapping"]),
        ({"one_lr": "yes"}, ["optimizer.groups.one_lr=yes: must be true or false"]),
    ],
)
def test_each_fault_in_a_line(options, told):
    found = refused(TinyGPT(), **options)
    assert [line[: len(words)] for line, words in zip(found, told, strict=True)] == told


def test_a_pattern_that_is_like_no_name_is_answered_by_some_names():
    few, many = nn.Sequential(*[nn.PReLU() for _ in range(6)]), nn.Sequential(*[nn.PReLU() for _ in range(7)])
    some = "parameters are 0.weight 1.weight 2.weight 3.weight 4.weight 5.weight"
    assert refused(few, frozen=["zzz"]) == [f"optimizer.groups.frozen=zzz: matches no parameter; {some}"]
    assert refused(many, frozen=["zzz"]) == [f"optimizer.groups.frozen=zzz: matches no parameter; {some} ..."]


def test_one_lr_for_all_leaves_room_for_weight_decay():
    net = CNN(input_shape=(1, 8, 8), num_classes=10)
    groups = Groups(one_lr=True, layer_decay=1, rules=[{"match": "head.weight", "weight_decay": 3}, {"match": "*"}])
    found = settings(net, groups.split(net, LR, DECAY))
    assert {lr for lr, _ in found.values()} == {LR}
    assert found["head.weight"] == (LR, 3 * DECAY)


def test_without_a_weight_decay_there_is_none():
    assert {group["weight_decay"] for group in Groups(no_decay=False).split(TinyGPT(), LR)} == {0.0}


class Gated(nn.LayerNorm):
    """A norm that holds a matrix."""

    def __init__(self):
        super().__init__(4)
        self.gate = nn.Linear(4, 4)


def test_a_matrix_inside_a_norm_is_decayed_as_others_are():
    net = nn.Sequential(nn.Linear(4, 4), Gated())
    decayed = {name for name, (_, decay) in settings(net, Groups().split(net, LR, DECAY)).items() if decay}
    assert decayed == {"0.weight", "1.gate.weight"}


def test_groups_come_by_kind_then_the_plain_lr_then_by_size_and_their_names_say_so():
    net = TinyGPT(depth=1)
    kinds = {
        name: "muon" if name.endswith(("qkv.weight", "out.weight")) else "adamw" for name, _ in net.named_parameters()
    }
    rules = [{"match": "layers.*", "lr": 0.5}, {"match": "*.out.weight", "weight_decay": 0.1}]
    groups = Groups(rules=rules, kinds=lambda module: dict(sorted(kinds.items(), key=lambda item: item[1] != "muon")))
    found = [(group["name"], len(group["params"]), group["lr"]) for group in groups.split(net, LR, DECAY)]
    assert found == [
        ("muon_decay_lr0.5", 1, LR / 2),
        ("muon_decay0.001_lr0.5", 1, LR / 2),
        ("adamw_no_decay", 4, LR),
        ("adamw_decay", 1, LR),
        ("adamw_no_decay_lr0.5", 4, LR / 2),
    ]


def test_the_table_shows_the_base_lr_of_a_group_whose_lr_has_moved():
    net = nn.Linear(2, 2)
    group = {"name": "all", "params": list(net.parameters()), "lr": 0.01, "initial_lr": LR, "weight_decay": DECAY}
    assert table(net, [group]) == [("all", 2, 6, LR, DECAY)]


def test_a_parameter_of_another_net_that_is_there_twice_has_no_name():
    net, other = nn.Linear(2, 2), nn.Parameter(torch.zeros(1))
    with pytest.raises(ValueError, match=r"missing \[\], twice \['\?'\], 1 not trainable"):
        check_complete(net, [{"params": [*net.parameters(), other, other]}])


@pytest.mark.parametrize(
    ("options", "asks"),
    [
        ({}, False),
        ({"layer_decay": 1}, False),
        ({"lr": {"head": 1}}, False),
        ({"layer_decay": 0.9}, True),
        ({"lr": {"head": 2}}, True),
        ({"kinds": lambda module, head: {}}, True),
        ({"rates": lambda module, head: {}}, True),
    ],
)
def test_who_asks_which_layer_is_the_head(options, asks):
    assert Groups(**options).ask_for_the_head is asks
    assert Groups(**options).needs_flow is asks
    assert Groups(**options, head="head.*").needs_flow is ("layer_decay" in options and asks)


def test_a_plan_without_a_weight_decay_has_none():
    plan = Groups(no_decay=False).plan(net := TinyGPT(), LR)
    assert {group["weight_decay"] for group in plan.groups(net.parameters())} == {0.0}


def test_a_group_that_comes_later_is_split_as_it_would_have_been():
    """It multiplies the lr of each part; what else it sets holds for all. Mutants: no label; nothing further kept."""
    net = TinyGPT()
    plan = Groups(rules=[{"match": "head.*", "lr": 0.5}]).plan(net, LR, DECAY)
    later = {"params": [net.head.weight, *net.norm.parameters()], "lr": 2 * LR, "momentum": 0.3}
    parts = {part["name"]: part for part in plan.added(later, step=7)}
    assert {name: (part["lr"], part["weight_decay"]) for name, part in parts.items()} == {
        "no_decay_from7": (2 * LR, 0.0),
        "decay_lr0.5_from7": (LR, DECAY),
    }
    assert {part["momentum"] for part in parts.values()} == {0.3}


def test_a_group_of_parameters_that_nobody_planned_is_taken_as_it_is():
    net, other = TinyGPT(), nn.Parameter(torch.zeros(1))
    plan = Groups().plan(net, LR, DECAY)
    assert plan.added({"params": iter([other]), "lr": 0.7, "eps": 1.0}, step=7) == [
        {"params": [other], "lr": 0.7, "eps": 1.0, "name": "from7"}
    ]


def test_with_one_lr_for_all_a_later_group_has_that_of_the_plan():
    net = TinyGPT()
    plan = Groups(one_lr=True).plan(net, LR, DECAY)
    [part] = plan.added({"params": net.head.weight, "lr": 7 * LR}, step=3)
    assert (part["lr"], part["name"]) == (LR, "from3")


def test_what_is_frozen_for_good_is_not_to_be_unfrozen():
    with pytest.raises(ConfigError) as refused:
        Groups(frozen="head.*", unfreeze={"h*": "2ep"}).split(TinyGPT(), LR)
    assert str(refused.value.faults[0]).startswith("optimizer.groups.unfreeze=head.")
