"""`make test-wheel` refuses what must not be published."""

import zipfile

import pytest
import try_wheel


@pytest.mark.parametrize("platforms", ["manylinux2014_x86_64.manylinux_2_17_x86_64", "macosx_11_0_arm64", "win_amd64"])
def test_tags_of_today(platforms):
    try_wheel.check_tags("cp311", "abi3", platforms)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        (("cp311", "abi3", "manylinux_2_34_x86_64"), "2_34"),
        (("cp311", "abi3", "linux_x86_64"), "not a manylinux wheel"),
        (("cp311", "cp311", "win_amd64"), "not for every Python"),
    ],
)
def test_tags_that_are_refused(tags, reason):
    with pytest.raises(AssertionError, match=reason):
        try_wheel.check_tags(*tags)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ((set(), set()), None),
        ((set(), {"rigidities-1.0.0.dist-info/licenses/THIRD_PARTY_LICENSES.txt"}), "not in the wheel.*THIRD"),
        ((set(), {"rigidities/_core.abi3.so"}), "compiled"),
        (({"tests/test_rows.py"}, set()), "does not belong"),
        (({"rigidities/__pycache__/rows.pyc"}, set()), "does not belong"),
    ],
)
def test_files(tmp_path, change, reason):
    more, fewer = change
    names = {name.format(info="rigidities-1.0.0.dist-info") for name in try_wheel.FILES} | {"rigidities/_core.abi3.so"}
    with zipfile.ZipFile(tmp_path / "wheel", "w") as wheel:
        for name in (names | more) - fewer:
            wheel.writestr(name, "")
    if reason is None:
        try_wheel.check_files(tmp_path / "wheel", "1.0.0")
    else:
        with pytest.raises(AssertionError, match=reason):
            try_wheel.check_files(tmp_path / "wheel", "1.0.0")
