"""Cinder volume driver of one node: a volume is a sparse file, which machines on the node open as their disk."""

import os
from pathlib import Path

from cinder import exception, interface
from cinder.image import image_utils
from cinder.volume import driver
from oslo_concurrency import processutils

FOLDER = Path("/var/lib/cinder/volumes")
DISKS = Path("/var/lib/xdc-openstack/disks")
_GIB = 1 << 30


@interface.volumedriver
class Files(driver.VolumeDriver):
    """Volumes and their snapshots, each a file with its name."""

    VERSION = "1.0"
    CI_WIKI_NAME = "none"

    def check_for_setup_error(self):
        """The folder is there."""
        FOLDER.mkdir(mode=0o700, exist_ok=True)

    def create_volume(self, volume):
        """Nothing but zeros."""
        _grow(_path(volume), volume.size)

    def delete_volume(self, volume):
        """With its content."""
        _path(volume).unlink(missing_ok=True)

    delete_snapshot = delete_volume

    def extend_volume(self, volume, new_size):
        """Zeros behind what there is. new_size: GiB."""
        _grow(_path(volume), new_size)

    def create_snapshot(self, snapshot):
        """A copy."""
        _copy(_at_rest(snapshot.volume), _path(snapshot))

    def create_volume_from_snapshot(self, volume, snapshot):
        """A copy."""
        _copy(_path(snapshot), _path(volume))
        _grow(_path(volume), volume.size)

    def create_cloned_volume(self, volume, src_vref):
        """A copy."""
        _copy(_at_rest(src_vref), _path(volume))
        _grow(_path(volume), volume.size)

    def clone_image(self, context, volume, image_location, image_meta, image_service):
        """What the image holds, as a disk. Here, as cinder's own way to copy it wants to be root."""
        if (disk := _of_kit(image_meta)) is None:
            blocks = self.configuration.volume_dd_blocksize
            given = (context, image_service, image_meta["id"], str(_path(volume)), blocks)
            image_utils.fetch_to_raw(*given, size=volume.size, run_as_root=False)
        elif disk.stat().st_size > volume.size * _GIB:
            why = f"its disk has {disk.stat().st_size // _GIB} GiB, the volume {volume.size}"
            raise exception.ImageUnacceptable(image_id=image_meta["id"], reason=why)
        else:
            _copy(disk, _path(volume))
        _grow(_path(volume), volume.size)
        return {}, True

    def _done(self, *args, **kwargs):
        return None

    ensure_export = create_export = remove_export = terminate_connection = _done

    def initialize_connection(self, volume, connector, **kwargs):
        """Where its file is."""
        return {"driver_volume_type": "local", "data": {"device_path": str(_path(volume))}}

    def _update_volume_stats(self):
        # Files take what is written to them; that the node's disk may be full before they are is its owner's to know.
        self._stats = {
            "volume_backend_name": "files",
            "vendor_name": "xdc-testbed",
            "driver_version": self.VERSION,
            "storage_protocol": "local",
            "total_capacity_gb": 100000,
            "free_capacity_gb": 90000,
            "reserved_percentage": 0,
            "multiattach": False,
        }


def _path(thing):
    return FOLDER / thing.name


def _of_kit(image_meta):
    """The kit's own disk, for an image that stands for it, where there is one: machines have it, containers do not."""
    name = (image_meta.get("properties") or {}).get("xdc_testbed_root")
    return next((path / "disk" for path in DISKS.glob("*") if path.name == name and path.is_dir()), None)


def _at_rest(volume):
    """The file of a volume that nobody writes to: a copy of any other would be of no one moment."""
    if volume.attach_status == "attached":
        raise exception.InvalidVolume(reason="a volume that is attached cannot be copied here")
    return _path(volume)


def _grow(path, size):
    """Make a file that long, without anything in what is new of it. size: GiB."""
    with path.open("ab") as file:
        path.chmod(0o600)
        os.truncate(file.fileno(), size * _GIB)


def _copy(source, path):
    """Copy a file with its holes."""
    processutils.execute("cp", "--sparse=always", "--reflink=auto", source, path)
