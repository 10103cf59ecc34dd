"""Which artifact was uploaded to which address: in a folder and in S3."""

from __future__ import annotations

from prefect_codepipeline.actions.artifacts.objects import list_objects, remove_objects, write_object
from prefect_codepipeline.actions.artifacts.uploads import Uploads
from prefect_codepipeline.model.record.artifacts import StoredArtifact

ARTIFACT = StoredArtifact(name="App", sha256="ab" * 32, size=1024, files=1)


def test_the_last_upload_to_an_address_counts(store):
    uploads = Uploads(store)
    assert uploads.find("releases", "shop/App/x7Kq2Lp") is None

    uploads.put("releases", "shop/App/x7Kq2Lp", ARTIFACT.model_copy(update={"files": 2}))
    uploads.put("releases", "shop/App/x7Kq2Lp", ARTIFACT)
    assert Uploads(store).find("releases", "shop/App/x7Kq2Lp") == ARTIFACT
    assert uploads.find("releases", "shop/App/other") is uploads.find("other", "shop/App/x7Kq2Lp") is None


def test_objects_below_a_key_are_listed_and_removed_and_no_others(store):
    assert list_objects(store, "parts") == {}
    for key in ("parts/a/1", "parts/a/b/2", "parts/c/3", "partsofothers/4"):
        write_object(store, key, b"xyz")

    assert list_objects(store, "parts/a") == {"1": 3, "b/2": 3}
    remove_objects(store, ["parts/a/1", "parts/a/b/2", "parts/a/never-there"])
    remove_objects(store, ["parts/a/1"])
    assert list_objects(store, "parts") == {"c/3": 3}
    assert list_objects(store, "partsofothers") == {"4": 3}
