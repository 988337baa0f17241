"""The command compare, and several seeds of the command train."""

from keras_deit.core.files import check_writable, user_path, write_json
from keras_deit.evaluation import compare_studies, comparison_table
from keras_deit.recipes import Option


def seed_options() -> list[Option]:
    """Returns the options of a training of several seeds."""
    return [
        Option(
            "seeds",
            str,
            "Seeds to train, each as a run of its own below --run_dir: 0:10 is 0 to 9, 0,3,10:20 "
            "several. Mean, std, min and max of their figures are printed and kept.",
        ),
        Option("parallel_seeds", int, "Number of seeds that are trained at once.", minimum=1),
    ]


def compare_options() -> list[Option]:
    return [
        Option(
            "figures",
            "texts",
            "Figures to compare, as --seeds prints them; by default top-1 of the reported split "
            "and of the last validation.",
        ),
        Option("output", str, "JSON file to write the figures into."),
    ]


def compare(values: dict) -> None:
    """Prints which differences between studies are within noise, and writes them."""
    output = user_path(values["output"]) if "output" in values else None
    if output is not None:
        check_writable(output)
    result = compare_studies(values["studies"], values.get("figures", ()))
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_json(output, result)
    print(comparison_table(result))
