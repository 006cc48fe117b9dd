"""nova driver whose instances are virtual machines, each a process of QEMU; all but that is as with containers.

An image's data is the machine's disk, from glance by way of a cache. Volumes are files of this node (xdc_cinder).
"""

from dataclasses import replace
from typing import ClassVar

import xdc_images
import xdc_machines
from nova import conf, exception
from nova.image import format_inspector, glance
from nova.virt import driver, xdc_container
from oslo_concurrency import lockutils

_GIB = 1 << 30


class Machines(xdc_container.Containers):
    """Instances with a kernel of their own."""

    capabilities: ClassVar = {**xdc_container.Containers.capabilities, "supports_image_type_qcow2": True}

    def attach_volume(self, context, connection_info, instance, mountpoint, **more):
        """Plug it in."""
        try:
            xdc_machines.attach(instance.uuid, _volume(connection_info))
        except (OSError, RuntimeError) as error:
            raise exception.VolumeAttachFailed(volume_id=connection_info["serial"], reason=str(error)) from error

    def detach_volume(self, context, connection_info, instance, mountpoint, encryption=None):
        """Pull it out, once the machine lets it go."""
        try:
            xdc_machines.detach(instance.uuid, _volume(connection_info)["id"])
        except (OSError, RuntimeError) as error:
            raise exception.DeviceDetachFailed(device=mountpoint, reason=str(error)) from error

    def extend_volume(self, context, connection_info, instance, requested_size):
        """The machine sees what has grown."""
        xdc_machines.grow(instance.uuid, _volume(connection_info)["id"], requested_size)

    def swap_volume(self, *given, **more):
        """Refused."""
        raise NotImplementedError("no volume can take the place of another here")

    def get_device_name_for_instance(self, instance, bdms, block_device_obj):
        """As nova names them; the machine finds a volume by its id."""
        raise NotImplementedError

    def manage_image_cache(self, context, all_instances):
        """Forget images as nova's own drivers do: what no instance has used for a day."""
        if conf.CONF.image_cache.remove_unused_base_images:
            seconds = conf.CONF.image_cache.remove_unused_original_minimum_age_seconds
            xdc_images.forget(xdc_machines.used(), seconds=seconds)

    def _source(self, context, instance, image_meta, block_device_info):
        """What it boots, and its volumes."""
        volumes = [
            {**_volume(one["connection_info"]), "boot": one["boot_index"] == 0}
            for one in driver.block_device_info_get_mapping(block_device_info)
        ]
        of_volume = any(volume["boot"] for volume in volumes)
        if (name := xdc_container.kit_root(instance)) is not None:
            with xdc_container.kit_is_asked(instance):
                boot = xdc_machines.of_kit(name)
        else:
            boot = _uploaded(context, instance, None if of_volume else image_meta)
        if of_volume:
            return replace(boot, disk=None), volumes
        flavor, needed = instance.flavor.root_gb * _GIB, xdc_machines.size(boot)
        if flavor and flavor < needed:
            raise exception.FlavorDiskSmallerThanImage(flavor_size=flavor, image_size=needed)
        return boot, volumes

    def _make(self, instance, source, drive, ports):
        boot, volumes = source
        xdc_machines.make(instance.uuid, boot, drive, ports, volumes, disk_gib=instance.flavor.root_gb)

    def _connect(self, instance):
        xdc_machines.connect(instance.uuid)

    def _start(self, instance):
        xdc_machines.start(instance.uuid, memory_mib=instance.flavor.memory_mb, processors=instance.flavor.vcpus)

    def _stop(self, instance, *, kindly):
        xdc_machines.stop(instance.uuid, kindly=kindly)


def _uploaded(context, instance, image_meta):
    """What an image holds, as it is; image_meta: None when only what is beside the disk is wanted."""
    disk, form = None, "raw"
    if image_meta is not None:
        form = image_meta.disk_format
        if form not in ("raw", "qcow2") or image_meta.container_format != "bare":
            why = f"a machine boots raw and qcow2 in bare, not {form} in {image_meta.container_format}"
            raise exception.ImageUnacceptable(image_id=image_meta.id, reason=why)
        disk = _fetched(context, image_meta.id, form)
    kernel, initrd = (
        _fetched(context, image_id) if image_id else None for image_id in (instance.kernel_id, instance.ramdisk_id)
    )
    words = instance.image_meta.properties.get("os_command_line") or "root=/dev/vda console=ttyS0"
    return xdc_machines.Boot(disk, form, kernel, initrd, words)


def _fetched(context, image_id, form=None):
    """The data of an image, as a file. form: what a disk must be."""

    def fetch(path):
        try:
            glance.API().download(context, image_id, dest_path=str(path))  # compares it with the image's hash
        except OSError as error:
            why = f"its data could not be fetched: {error}"
            raise exception.ImageUnacceptable(image_id=image_id, reason=why) from error
        if form and (why := _refused(path, form)):
            raise exception.ImageUnacceptable(image_id=image_id, reason=why)

    with lockutils.lock(f"image-{image_id}"):
        return xdc_images.kept(image_id, fetch)


def _refused(path, form):
    """Why this file is no disk of that format, or would lead QEMU to other files; None when it may be booted."""
    try:
        found = format_inspector.QcowInspector.from_file(str(path))
    except format_inspector.ImageFormatError:
        return "its disk_format is qcow2, its data is not" if form == "qcow2" else None
    if form == "raw":
        return "its disk_format is raw, its data is qcow2"
    return None if found.safety_check() else "it refers to other files, or has features that are not known"


def _volume(connection_info):
    """A volume as xdc_machines wants it."""
    return {"id": connection_info["serial"], "path": connection_info["data"]["device_path"]}
