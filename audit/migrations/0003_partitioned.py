"""On MariaDB the trail gets a partition for each day."""

from django.db import migrations


def split(apps, schema_editor):
    from audit import days, partitions

    if schema_editor.connection.vendor != "mysql":
        return
    oldest = apps.get_model("audit", "Event").objects.order_by("pk").first()
    partitions.first_split(days.of(oldest.pk.hex) if oldest else days.today())


def join(apps, schema_editor):
    if schema_editor.connection.vendor == "mysql":
        schema_editor.execute("ALTER TABLE audit_event REMOVE PARTITIONING")


class Migration(migrations.Migration):
    # MariaDB ends a transaction with each change of a table.
    atomic = False

    dependencies = [("audit", "0002_sealed")]

    operations = [migrations.RunPython(split, join)]
