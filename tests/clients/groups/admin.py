"""What the admin client says of a group's kind, and its offsets of a topic nobody in it reads."""
from confluent_kafka import ConsumerGroupTopicPartitions, ConsumerGroupType, TopicPartition

from lane import PARTITIONS

KINDS = {ConsumerGroupType.CLASSIC: "Classic", ConsumerGroupType.CONSUMER: "Consumer"}


def reset(world, group, topic, offset):
    wanted = [TopicPartition(topic, each, offset) for each in range(PARTITIONS)]
    world.admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, wanted)])[group].result(20)


def describe(world, group, topic):
    """The kind of the group, and its committed offsets by partition."""
    listed = world.admin.list_consumer_groups().result(20).valid
    kinds = [KINDS.get(each.type, str(each.type)) for each in listed if each.group_id == group]
    return kinds[0] if kinds else None, world.committed(group, topic)
