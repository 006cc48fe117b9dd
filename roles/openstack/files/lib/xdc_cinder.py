"""Cinder volume driver that stores nothing: volumes exist, can be attached, grow and are deleted."""

from cinder import interface
from cinder.volume import driver


@interface.volumedriver
class Nothing(driver.VolumeDriver):
    """Every operation succeeds at once."""

    VERSION = "1.0"
    CI_WIKI_NAME = "none"

    def check_for_setup_error(self):
        """Nothing can be wrong."""

    def _done(self, *args, **kwargs):
        return None

    create_volume = delete_volume = extend_volume = _done
    create_volume_from_snapshot = create_cloned_volume = copy_image_to_volume = _done
    create_snapshot = delete_snapshot = _done
    ensure_export = create_export = remove_export = terminate_connection = _done

    def initialize_connection(self, volume, connector, **kwargs):
        """What nova's fake driver attaches."""
        return {"driver_volume_type": "fake", "data": {"volume_id": volume.id}}

    def _update_volume_stats(self):
        self._stats = {
            "volume_backend_name": "nothing",
            "vendor_name": "xdc-testbed",
            "driver_version": self.VERSION,
            "storage_protocol": "fake",
            "total_capacity_gb": 100000,
            "free_capacity_gb": 90000,
            "reserved_percentage": 0,
            "multiattach": True,
        }
