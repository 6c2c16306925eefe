"""Packages: the same content has the same digest wherever it lies, and nothing unchecked is ever returned."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rustcare_kernel import package as pkg
from rustcare_kernel.package import (
    BlobStore,
    DigestMismatch,
    Package,
    PackageError,
    PackageInvalid,
    PackageNotBuilt,
    PackageNotFound,
    PackageTooLarge,
    PackageUnsafe,
    digest_of,
    read_package,
    write_layout,
    write_layout_tar,
)
from rustcare_sdk.errors import InvalidManifest

WASM = b"\0asm\x0d\0\x01\0" + b"a component" * 3
HEAD = """schema = 1
[plugin]
id = "acme.sample"
version = "1.2.3"
summary = "Nothing much"
engine = ">=0.1,<0.2"
license = "MIT"
"""
PYTHON = HEAD + '[runtime]\npython = { entry = "acme_sample.plugin:Sample" }\n'
BOTH = HEAD + '[runtime]\npython = { entry = "acme_sample.plugin:Sample" }\ncomponent = { path = "sample.wasm" }\n'
EXTISM = HEAD + '[runtime]\nextism = { path = "sample.wasm" }\n'
FILES = {
    "__init__.py": b'"""A sample."""\n',
    "plugin.py": b"raise SystemExit('the reader must not run this')\n",
    "tables/codes.json": b"{}",
    "migrations/0001_first.sql": b"CREATE TABLE t (a INTEGER)",
}


def write_project(root: Path, manifest: str = PYTHON, files: dict[str, bytes] | None = None) -> Path:
    """A project folder as `rustcare plugin new` writes it."""
    folder = root / "src" / "acme_sample"
    for name, data in {"plugin.toml": manifest.encode(), **(FILES if files is None else files)}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return root


def write_wheel(path: Path, project: Path) -> Path:
    """A wheel of that project."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((project / "src").rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(project / "src"))
        archive.writestr("acme_sample-1.2.3.dist-info/METADATA", "Name: acme-sample\n")
    return path


def test_every_form_of_the_same_content_has_the_same_digest(tmp_path: Path) -> None:
    """Folder, import package, manifest, .wasm, wheel, layout and tar of the same content are the same package."""
    project = write_project(tmp_path / "p", BOTH, {**FILES, "sample.wasm": WASM})
    package = read_package(project)
    folder = project / "src" / "acme_sample"
    forms: list[Path | str | Package] = [
        folder,
        folder / "plugin.toml",
        folder / "sample.wasm",
        write_wheel(tmp_path / "acme_sample-1.2.3-py3-none-any.whl", project),
        write_layout(package, tmp_path / "layout"),
        write_layout_tar(package, tmp_path / "layout.tar"),
        f"{tmp_path / 'layout'}@{package.digest}",
        package,
    ]
    assert {read_package(form).digest for form in forms} == {package.digest}
    assert (package.id, package.version, package.runtimes, package.unbuilt) == (
        "acme.sample",
        "1.2.3",
        ("python", "component"),
        (),
    )
    assert package.component() == WASM
    assert package.code_digest("component") == digest_of(WASM)
    assert package.digest == digest_of(package.blobs[package.digest])


def test_the_python_layer_holds_the_import_package_and_no_wasm(tmp_path: Path) -> None:
    """The zip's names begin with the import package; manifest, .wasm, tests, byte code and hidden files stay out."""
    noise = {"sample.wasm": WASM, "__pycache__/x.pyc": b"x", "tests/test_a.py": b"", ".env": b"SECRET=1", "b.pyc": b"x"}
    package = read_package(write_project(tmp_path, BOTH, {**FILES, **noise}))
    with zipfile.ZipFile(io.BytesIO(package.python_zip())) as archive:
        assert archive.namelist() == sorted(f"acme_sample/{name}" for name in FILES)
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
    assert package.files() == FILES
    assert set(package.files("component")) == {"tables/codes.json", "migrations/0001_first.sql"}


def test_times_and_modes_do_not_change_the_digest(tmp_path: Path) -> None:
    """The digest depends on names and contents alone."""
    first = read_package(write_project(tmp_path / "a"))
    other = write_project(tmp_path / "b")
    for file in other.rglob("*.py"):
        file.chmod(0o755)
        os.utime(file, (1, 1))
    assert read_package(other).digest == first.digest
    (other / "src/acme_sample/plugin.py").write_bytes(b"# changed\n")
    assert read_package(other).digest != first.digest


def test_a_component_that_is_not_built_is_reported_and_can_be_put_in(tmp_path: Path) -> None:
    """A checkout without its .wasm reads; the runtime is in `unbuilt`; putting the code in equals reading it built."""
    project = write_project(tmp_path, BOTH)
    package = read_package(project)
    assert package.unbuilt == ("component",)
    assert package.folder == project / "src" / "acme_sample"
    with pytest.raises(PackageNotBuilt, match="rustcare plugin build"):
        package.component()
    built = package.with_wasm("component", WASM)
    (project / "src/acme_sample/sample.wasm").write_bytes(WASM)
    assert built.digest == read_package(project).digest
    assert built.unbuilt == ()
    with pytest.raises(PackageInvalid, match="extism"):
        package.with_wasm("extism", WASM)
    with pytest.raises(PackageNotBuilt, match="choose another runtime"):
        package.extism()


def test_a_folder_without_python_code_gives_only_what_its_manifest_names(tmp_path: Path) -> None:
    """A build folder beside the .wasm does not leak into the package."""
    folder = tmp_path / "guest"
    folder.mkdir()
    (folder / "plugin.toml").write_text(EXTISM + '[config]\nschema = "config.schema.json"\n')
    (folder / "sample.wasm").write_bytes(WASM)
    (folder / "config.schema.json").write_text("{}")
    (folder / "main.go").write_text("package main")
    package = read_package(folder)
    assert package.files() == {"config.schema.json": b"{}"}
    assert package.extism() == WASM
    assert read_package(write_layout(package, tmp_path / "out")).digest == package.digest
    (folder / "config.schema.json").unlink()
    with pytest.raises(PackageInvalid, match=r"config\.schema\.json"):
        read_package(folder)


def test_an_installed_plugin_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`installed:NAME` goes by the entry point; the import package never runs."""
    project = write_project(tmp_path)
    info = project / "src" / "acme_sample-1.2.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-sample\nVersion: 1.2.3\n")
    (info / "entry_points.txt").write_text("[rustcare.plugins]\nsample = acme_sample\n")
    monkeypatch.syspath_prepend(str(project / "src"))
    assert read_package("installed:sample").digest == read_package(project).digest
    assert not [name for name in sys.modules if name.startswith("acme_sample")]
    with pytest.raises(PackageNotFound, match="sample"):
        read_package("installed:simple")


@pytest.mark.parametrize("name", ["nothing", "file.txt", "empty"])
def test_what_is_no_package_is_refused_with_the_forms_that_are(tmp_path: Path, name: str) -> None:
    """The error names the path and lists what is accepted."""
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PackageNotFound, match=r"\.whl") as caught:
        read_package(tmp_path / name)
    assert caught.value.address == str(tmp_path / name)


def test_a_broken_manifest_is_refused(tmp_path: Path) -> None:
    """The manifest's own error comes through."""
    with pytest.raises(InvalidManifest):
        read_package(write_project(tmp_path, "schema = 1\n"))


def test_an_entry_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A manifest that names a module outside its folder is caught when the package is read."""
    with pytest.raises(PackageInvalid, match=r"other\.plugin:Sample"):
        read_package(write_project(tmp_path, PYTHON.replace("acme_sample.plugin", "other.plugin")))


def test_links_are_refused(tmp_path: Path) -> None:
    """Neither a linked file, nor a linked folder, nor a linked .wasm is followed out of the package."""
    (tmp_path / "secret").write_text("x")
    project = write_project(tmp_path / "a")
    (project / "src/acme_sample/link.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(PackageUnsafe, match="symbolic link"):
        read_package(project)
    project = write_project(tmp_path / "b")
    (project / "src/acme_sample/folder").symlink_to(tmp_path)
    with pytest.raises(PackageUnsafe, match="symbolic link"):
        read_package(project)
    project = write_project(tmp_path / "c", EXTISM)
    (project / "src/acme_sample/sample.wasm").symlink_to(tmp_path / "secret")
    with pytest.raises(PackageUnsafe):
        read_package(project)


@pytest.mark.parametrize("path", ["../sample.wasm", "/etc/hostname", "a\\\\b.wasm", "a//b.wasm"])
def test_a_manifest_cannot_name_files_outside_the_package(tmp_path: Path, path: str) -> None:
    """Paths that leave the folder are refused by the manifest's reader or by the package's."""
    with pytest.raises((PackageUnsafe, InvalidManifest)):
        read_package(write_project(tmp_path, EXTISM.replace("sample.wasm", path)))


def test_a_module_must_be_webassembly(tmp_path: Path) -> None:
    """A .wasm without the magic number is refused."""
    with pytest.raises(PackageInvalid, match="WebAssembly"):
        read_package(write_project(tmp_path, BOTH, {**FILES, "sample.wasm": b"MZ"}))


def hostile_wheel(path: Path, name: str, data: bytes = b"x", mode: int = 0, twice: bool = False) -> Path:
    """A wheel with one member more than it should have."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, value in {"plugin.toml": PYTHON.encode(), **FILES}.items():
            archive.writestr(f"acme_sample/{key}", value)
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    return path


@pytest.mark.parametrize(
    "name", ["../evil.py", "/etc/evil", "acme_sample/../../x", "acme_sample\\x", "C:/x", "acme_sample//x"]
)
def test_a_wheel_cannot_reach_outside(tmp_path: Path, name: str) -> None:
    """Path traversal in archives is refused, not cleaned."""
    with pytest.raises(PackageUnsafe):
        read_package(hostile_wheel(tmp_path / "x.whl", name))


def test_a_wheel_with_a_link_is_refused(tmp_path: Path) -> None:
    """A member that is a symbolic link is no file."""
    with pytest.raises(PackageUnsafe, match="link"):
        read_package(hostile_wheel(tmp_path / "x.whl", "acme_sample/l", b"/etc/passwd", stat.S_IFLNK | 0o777))


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Size, total and number of files are limited, archives by what they would inflate to."""
    bomb = hostile_wheel(tmp_path / "x.whl", "acme_sample/zeros", bytes(3_000_000))
    assert bomb.stat().st_size < 20_000
    monkeypatch.setattr("rustcare_kernel.package._files.MAX_FILE", 1_000_000)
    with pytest.raises(PackageTooLarge, match="1,000,000"):
        read_package(bomb)
    monkeypatch.setattr("rustcare_kernel.package._files.MAX_FILE", 5_000_000)
    monkeypatch.setattr("rustcare_kernel.package._files.MAX_PACKAGE", 2_000_000)
    with pytest.raises(PackageTooLarge, match="2,000,000"):
        read_package(bomb)
    monkeypatch.setattr("rustcare_kernel.package._files.MAX_FILES", 3)
    with pytest.raises(PackageTooLarge, match="at most 3"):
        read_package(write_project(tmp_path / "p"))


def test_a_truncated_wheel_is_refused(tmp_path: Path) -> None:
    """Half an archive is an error with an address, not a traceback."""
    wheel = write_wheel(tmp_path / "x.whl", write_project(tmp_path / "p"))
    wheel.write_bytes(wheel.read_bytes()[:200])
    with pytest.raises(PackageInvalid, match="zip"):
        read_package(wheel)


def test_a_wheel_with_two_plugins_is_refused(tmp_path: Path) -> None:
    """One wheel, one plugin."""
    with pytest.raises(PackageInvalid, match="found 2"):
        read_package(hostile_wheel(tmp_path / "x.whl", "other/plugin.toml"))


def test_the_layout_is_an_oci_image_layout(tmp_path: Path) -> None:
    """What other OCI clients look for is there: version, index, media types, sizes, artifact type."""
    package = read_package(write_project(tmp_path / "p", BOTH, {**FILES, "sample.wasm": WASM}))
    layout = write_layout(package, tmp_path / "layout")
    assert json.loads((layout / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((layout / "index.json").read_bytes())
    assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    (descriptor,) = index["manifests"]
    assert descriptor["digest"] == package.digest
    assert descriptor["annotations"] == {"org.opencontainers.image.ref.name": "1.2.3"}
    image = json.loads((layout / "blobs/sha256" / package.digest[7:]).read_bytes())
    assert image["schemaVersion"] == 2
    assert image["artifactType"] == pkg.ARTIFACT_TYPE
    assert image["config"]["mediaType"] == pkg.CONFIG_TYPE
    assert [layer["mediaType"] for layer in image["layers"]] == [pkg.PYTHON_TYPE, pkg.WASM_TYPE]
    assert [layer["annotations"]["org.opencontainers.image.title"] for layer in image["layers"]] == [
        "acme_sample.zip",
        "sample.wasm",
    ]
    for part in (image["config"], *image["layers"]):
        assert part["size"] == (layout / "blobs/sha256" / part["digest"][7:]).stat().st_size
    with pytest.raises(PackageInvalid, match="empty folder"):
        write_layout(package, layout)


def test_a_tar_is_the_same_bytes_for_the_same_package(tmp_path: Path) -> None:
    """Nothing of the time, the user or the machine gets into the archive."""
    package = read_package(write_project(tmp_path / "p"))
    first = write_layout_tar(package, tmp_path / "a.tar").read_bytes()
    assert write_layout_tar(package, tmp_path / "b.tar").read_bytes() == first
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.tar", "b.tar", "p"]


def test_a_tar_with_a_link_is_refused(tmp_path: Path) -> None:
    """Links and names that leave the archive make the whole archive refused."""
    for kind, name in ((tarfile.SYMTYPE, "blobs/sha256/x"), (tarfile.LNKTYPE, "y"), (tarfile.REGTYPE, "../z")):
        path = tmp_path / "x.tar"
        with tarfile.open(path, "w") as archive:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        with pytest.raises(PackageUnsafe):
            read_package(path)
    (tmp_path / "y.tar").write_bytes(b"no tar")
    with pytest.raises(PackageInvalid, match="tar"):
        read_package(tmp_path / "y.tar")


def relink(layout: Path, change: dict[str, object]) -> None:
    """Rewrite a layout's image manifest, digests and all: what someone who controls the whole layout can do."""
    index = json.loads((layout / "index.json").read_bytes())
    old = index["manifests"][0]["digest"]
    image = json.loads((layout / "blobs/sha256" / old[7:]).read_bytes()) | change
    data = json.dumps(image).encode()
    index["manifests"][0] |= {"digest": digest_of(data), "size": len(data)}
    (layout / "blobs/sha256" / digest_of(data)[7:]).write_bytes(data)
    (layout / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    "change",
    [
        {"artifactType": "application/vnd.other"},
        {"schemaVersion": 1},
        {"layers": [{"mediaType": "application/vnd.unknown", "digest": digest_of(b"{}"), "size": 2}]},
        {"layers": [{"mediaType": pkg.WASM_TYPE, "digest": digest_of(b"{}"), "size": 2}]},
        {"layers": [{"mediaType": pkg.PYTHON_TYPE, "digest": "md5:" + "0" * 32, "size": 2}]},
        {"layers": [{"mediaType": pkg.PYTHON_TYPE, "digest": "sha256:../../../etc/passwd", "size": 2}]},
        {"layers": [{"mediaType": pkg.PYTHON_TYPE, "digest": digest_of(b"{}"), "size": 3}]},
        {"layers": "none"},
    ],
)
def test_a_layout_that_lies_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    """Unknown kinds, wrong sizes, other hashes and names that leave it are refused though every digest is right."""
    layout = write_layout(read_package(write_project(tmp_path / "p")), tmp_path / "layout")
    (layout / "blobs/sha256" / digest_of(b"{}")[7:]).write_bytes(b"{}")
    relink(layout, change)
    with pytest.raises(PackageError):
        read_package(layout)


names = st.text("abcdefghij_", min_size=1, max_size=8)
trees = st.dictionaries(
    st.builds(
        lambda parts, end: "/".join(parts) + end,
        st.lists(names, min_size=1, max_size=3),
        st.sampled_from([".py", ".json"]),
    ),
    st.binary(max_size=200),
    max_size=6,
)


def clean(tree: dict[str, bytes]) -> dict[str, bytes]:
    """The tree without names that are a folder's and a file's at once, and without those the package leaves out."""
    return {name: data for name, data in tree.items() if not name.startswith("tests")} | FILES


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trees, st.booleans())
def test_a_round_trip_keeps_digest_and_content(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, bytes], wasm: bool
) -> None:
    """Folder → layout → package and folder → blob store → package are the package of the folder, whatever is in it."""
    root = tmp_path_factory.mktemp("round")
    files = clean(tree)
    package = read_package(write_project(root / "p", BOTH, {**files, **({"sample.wasm": WASM} if wasm else {})}))
    assert package.files() == files
    again = read_package(write_layout(package, root / "layout"))
    packed = read_package(write_layout_tar(package, root / "layout.tar"))
    store = BlobStore(root / "blobs")
    kept = store.get_package(store.put_package(package))
    for other in (again, packed, kept):
        assert other.digest == package.digest
        assert dict(other.blobs) == dict(package.blobs)
        assert other.files() == files
        assert other.manifest == package.manifest
        assert other.unbuilt == package.unbuilt


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A package with every kind of layer."""
    root = tmp_path_factory.mktemp("sample")
    return read_package(write_project(root, BOTH, {**FILES, "sample.wasm": WASM}))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_flipped_bit_is_refused(
    tmp_path_factory: pytest.TempPathFactory, sample: Package, data: st.DataObject
) -> None:
    """One bit of one blob changed: layout and store refuse it. In the index, it is refused or changes nothing."""
    root = tmp_path_factory.mktemp("flip")
    layout = write_layout(sample, root / "layout")
    store = BlobStore(root / "blobs")
    store.put_package(sample)
    name = data.draw(
        st.sampled_from(sorted(str(file.relative_to(layout)) for file in layout.rglob("*") if file.is_file()))
    )
    content = bytearray((layout / name).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (layout / name).write_bytes(content)
    if name.startswith("blobs/"):
        with pytest.raises(DigestMismatch):
            read_package(layout)
        (root / name).write_bytes(content)
        with pytest.raises(DigestMismatch):
            store.get_package(sample.digest)
        return
    try:
        found = read_package(layout)
    except PackageError:
        return
    assert found.digest == sample.digest


def test_the_store_checks_what_it_returns(tmp_path: Path) -> None:
    """A blob that was exchanged is refused, one that is missing is said to be, and putting it again heals it."""
    store = BlobStore(tmp_path / "blobs")
    digest = store.put(b"content")
    assert digest in store
    assert store.get(digest) == b"content"
    path = tmp_path / "blobs/sha256" / digest[7:]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"other")
    with pytest.raises(DigestMismatch):
        store.get(digest)
    assert store.put(b"content") == digest
    assert store.get(digest) == b"content"
    with pytest.raises(PackageNotFound):
        store.get(digest_of(b"unknown"))
    with pytest.raises(PackageInvalid):
        store.get("sha256:../../x")


def test_collecting_keeps_whole_packages(tmp_path: Path, sample: Package) -> None:
    """`gc` leaves every blob of the packages to keep, and takes the rest with the leftovers of writes."""
    store = BlobStore(tmp_path / "blobs")
    other = read_package(write_project(tmp_path / "p"))
    store.put_package(sample)
    store.put_package(other)
    (tmp_path / "blobs/sha256/.new-left").write_bytes(b"")
    gone = store.gc({sample.digest})
    assert gone == len(set(other.blobs) - set(sample.blobs)) + 1
    assert store.get_package(sample.digest).blobs == sample.blobs
    with pytest.raises(PackageNotFound):
        store.get_package(other.digest)


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk refuses, no half-written blob is left under a digest's name."""

    def refuse(*args: object) -> None:
        raise OSError("disk full")

    store = BlobStore(tmp_path / "blobs")
    store.put(b"one")
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        store.put(b"two")
    assert len(list((tmp_path / "blobs/sha256").iterdir())) == 1
