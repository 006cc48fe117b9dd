"""ML2 mechanism driver of a cloud without network agents: every port is bound, and active, at once."""

from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from neutron_lib.plugins.ml2 import api


class Bound(api.MechanismDriver):
    """Binds a port to the first segment of its network; nothing is plugged anywhere."""

    def initialize(self):
        """Nothing to begin with."""

    @property
    def connectivity(self):
        """What a port of this driver is connected to."""
        return portbindings.CONNECTIVITY_L2

    def bind_port(self, context):
        """Take the first segment."""
        for segment in context.segments_to_bind[:1]:
            context.set_binding(
                segment[api.ID],
                portbindings.VIF_TYPE_OVS,
                {portbindings.CAP_PORT_FILTER: True},
                status=constants.PORT_STATUS_ACTIVE,
            )
