"""What the command line accepts, and the one line it says otherwise."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from benchmark.config import help
from benchmark.config.compose import choices
from benchmark.config.options import Blocks
from benchmark.errors import InputError
from benchmark.registry import catalogue, configure


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["experiment=quickstrat"], "unknown experiment=quickstrat; did you mean quickstart?"),
        (["bridge.rank=0"], "bridge.rank=0 cannot be used; give a whole number of at least 1 and at most 100000"),
        (["bridge.rnk=3"], "did you mean bridge.rank"),
        (["kd_logits.temperature=-1"], "give a number above 0"),
        (["bridge.loss=hinge"], "one of cosine, mse, l1, infonce"),
        (["bridge.epochs=null"], "it is not searched"),
        (["sede=2"], "did you mean seed?"),
        (["trials=2"], "did you mean search.trials?"),
        (["seach.trials=2"], "did you mean search.trials?"),
        (["data=eegmad"], "did you mean eegmat?"),
        (["encoder@new=papagai"], "did you mean papagei?"),
        (["bridge=3"], "bridge holds bridge.position, bridge.input"),
        (["search.trials=many"], "give a whole number of at least 1"),
        (["teacher.class_weighted=no"], "teacher.class_weighted=no cannot be used; give one of true, false"),
        (["search.scheduler=hyperband"], "one of none, asha, median"),
        (["methods=[bridge,kd_logit]"], "did you mean kd_logits"),
        (["methods=[]"], "give a list such as"),
        (["references=[tacher]"], "did you mean teacher?"),
        (["final.seeds=[]"], "give a list of whole numbers"),
        (["name=a/b"], "give a folder name"),
        (["quickstart"], "write experiment=<name> or key=value"),
        (["~data"], "write experiment=<name> or key=value"),
        (["seed=1,2"], "write experiment=<name> or key=value"),
    ],
)
def test_a_wrong_word_is_named_with_what_is_close(words, said):
    with pytest.raises(InputError) as error:
        configure(words)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_every_experiment_is_a_whole_configuration(experiment):
    loaded = configure([f"experiment={experiment}"])
    assert loaded.name == loaded.experiment == experiment
    for method, options in catalogue().methods.items():
        assert type(loaded.method_options[method]) is options


def test_an_experiment_may_be_changed_piece_by_piece():
    loaded = configure(
        ["experiment=eegmat_eeg2ecg", "data.root=/somewhere", "bridge.rank=8", "old.preset=base"]
    ).plain()
    assert loaded["data"]["root"] == "/somewhere"
    assert loaded["bridge"]["rank"] == 8
    assert loaded["bridge"]["input"] is None
    assert (loaded["old"]["name"], loaded["old"]["preset"]) == ("labram", "base")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bridge.input=9"], "bridge.input=9 cannot be used; give a block of the new encoder, 0 to 5"),
        (["bridge.output=4"], "0 to 3, or head"),
    ],
)
def test_positions_are_checked_against_the_encoders(words, said):
    def check(words: list[str]) -> None:
        loaded = configure(words)
        loaded.method_options["bridge"].check(loaded, Blocks(new=6, old=4, new_width=32, old_width=48))

    with pytest.raises(InputError, match=said):
        check(words)
    check(["bridge.output=head"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bridge.position=two_stage", "bridge.output=2"], "chooses bridge.output=2 itself; leave one of them out"),
        (["bridge.output=head", "bridge.loss_at=bridge_output"], "bridge.loss_at=bridge_output says nothing"),
        (["bridge.layout=released"], "is no other layout with old encoder hubert_ecg"),
        (["experiment=eegmat_eeg2ecg", "bridge.layout=released", "bridge.output=head"], "at bridge.output=head"),
        (["bridge.loss=infonce", "bridge.batch_size=1"], "give bridge.batch_size of at least 2"),
        (["bridge.population=5"], "bridge.population=5 does not divide search.trials=12"),
    ],
)
def test_options_that_contradict_each_other_are_refused_by_name(words, said):
    with pytest.raises(InputError, match=said):
        configure(words)
    assert configure(words[:-1])


@pytest.mark.parametrize("words", [["experiment=nothing_like_it"], ["bridge.rank=0"], ["data=eegmat", "data.root=/no"]])
def test_the_command_line_says_one_line_and_exits_with_2(words, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", *words, f"results={tmp_path}"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_simulated_data_makes_an_experiment_of_the_paper_small_and_leaves_the_quickstart_as_it_is():
    assert configure(["data=simulated"]) == configure([])
    paper, small = (configure(["experiment=isruc_ecg2eeg", *words]) for words in ([], ["data=simulated"]))
    assert (paper.old.preset, small.old.preset) == ("small", "tiny")
    assert small.search.trials < paper.search.trials


def test_the_help_names_every_option_with_its_value_and_what_it_takes():
    loaded = configure(["bridge.rank=8"])
    text = help.usage(loaded, catalogue())
    for name in ("search.trials=12", "data.split.kind=subjects", "bridge.rank=8", "kd_logits.temperature=null"):
        assert f"  {name}" in text
    for one in help.options_of(loaded):
        assert one.accepted, one.name
    assert "a whole number of at least 1, or null to search it" in " ".join(text.split())


def test_all_methods_are_all_that_can_be_searched():
    assert configure(["methods=all"]).methods == list(catalogue().searchable)


def test_options_of_methods_that_do_not_run_are_no_part_of_what_ran():
    """So that a run can be resumed after somebody added a method."""
    assert "kd_logits" in configure([]).plain()
    assert configure(["methods=[bridge]"]).plain() == configure(["methods=[bridge]", "kd_logits.epochs=99"]).plain()


def test_the_readmes_table_of_options_is_the_schemas():
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    table = readme.partition("<!-- python -m benchmark --options -->\n")[2].partition("\n<!-- end of options -->")[0]
    assert table == help.markdown(configure([]))


def test_a_configuration_is_typed_and_travels():
    loaded = configure(["search.trials=20", "teacher.learning_rate=1"])
    assert (loaded.search.trials, loaded.teacher.learning_rate) == (20, 1.0)
    assert pickle.loads(pickle.dumps(loaded)) == loaded
    with pytest.raises(ValidationError):
        loaded.search.trials = 3
