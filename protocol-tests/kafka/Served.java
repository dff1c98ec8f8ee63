// How many bytes of a topic a broker has handed out to clients since it started, by its own meter
// (kafka.server:type=BrokerTopicMetrics,name=BytesOutPerSec). Prints the number.
// It never starts a port of the broker's that the network sees: it asks the JVM beside it.
//
//   Served PID TOPIC

import com.sun.tools.attach.VirtualMachine;
import javax.management.InstanceNotFoundException;
import javax.management.MBeanServerConnection;
import javax.management.ObjectName;
import javax.management.remote.JMXConnectorFactory;
import javax.management.remote.JMXServiceURL;

public final class Served {
    private static final String METER =
        "kafka.server:type=BrokerTopicMetrics,name=BytesOutPerSec,topic=";

    public static void main(String[] argv) throws Exception {
        VirtualMachine broker = VirtualMachine.attach(argv[0]);
        try (var connector = JMXConnectorFactory.connect(
                new JMXServiceURL(broker.startLocalManagementAgent()))) {
            System.out.println(count(connector.getMBeanServerConnection(), argv[1]));
        } finally {
            broker.detach();
        }
    }

    private static Object count(MBeanServerConnection beans, String topic) throws Exception {
        try {
            return beans.getAttribute(new ObjectName(METER + topic), "Count");
        } catch (InstanceNotFoundException e) {
            return 0; // nothing was handed out yet
        }
    }
}
