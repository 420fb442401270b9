/* A Modbus server made with libmodbus, for tests of the client.
 *
 *     libmodbus_server tcp HOST PORT
 *     libmodbus_server rtu DEVICE UNIT
 *
 * On TCP units 1 to 3 have tables of their own, and others are refused with exception 11. Each table has 2000 entries, which
 * hold at first, in unit u:
 *
 *     coil i        i % 3 == u % 3         holding register i    i * 7 + u
 *     discrete i    i % 5 == u % 5         input register i      65535 - i * 3 - u
 */
#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <unistd.h>

enum { ENTRIES = 2000, UNITS = 3 };

static modbus_mapping_t *tables[UNITS + 1];

static modbus_mapping_t *filled(int unit)
{
    modbus_mapping_t *mapping = modbus_mapping_new(ENTRIES, ENTRIES, ENTRIES, ENTRIES);
    if (mapping == NULL)
        exit(2);
    for (int i = 0; i < ENTRIES; i++) {
        mapping->tab_bits[i] = i % 3 == unit % 3;
        mapping->tab_input_bits[i] = i % 5 == unit % 5;
        mapping->tab_registers[i] = (uint16_t)(i * 7 + unit);
        mapping->tab_input_registers[i] = (uint16_t)(65535 - i * 3 - unit);
    }
    return mapping;
}

static void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, modbus_strerror(errno));
    exit(1);
}

static void serve_line(modbus_t *line, modbus_mapping_t *mapping)
{
    uint8_t query[MODBUS_MAX_ADU_LENGTH];
    for (;;) {
        int length = modbus_receive(line, query);
        if (length > 0)
            modbus_reply(line, query, length, mapping);
        else if (length < 0 && errno == EIO)
            fail("the line is gone");
    }
}

/* Answers one request of a client; returns whether the connection stands. */
static int answer(modbus_t *server, int client)
{
    uint8_t query[MODBUS_MAX_ADU_LENGTH];
    modbus_set_socket(server, client);
    int length = modbus_receive(server, query);
    if (length < 0)
        return 0;
    int unit = query[modbus_get_header_length(server) - 1];
    if (unit >= 1 && unit <= UNITS)
        modbus_reply(server, query, length, tables[unit]);
    else
        modbus_reply_exception(server, query, MODBUS_EXCEPTION_GATEWAY_TARGET);
    return 1;
}

static void serve_network(modbus_t *server)
{
    int listening = modbus_tcp_listen(server, 8);
    if (listening < 0)
        fail("listen");
    puts("ready");
    fflush(stdout);
    fd_set open_ones;
    FD_ZERO(&open_ones);
    FD_SET(listening, &open_ones);
    for (int last = listening;;) {
        fd_set readable = open_ones;
        if (select(last + 1, &readable, NULL, NULL, NULL) < 0)
            fail("select");
        for (int fd = 0; fd <= last && fd < FD_SETSIZE; fd++) {
            if (!FD_ISSET(fd, &readable))
                continue;
            if (fd == listening) {
                int client = modbus_tcp_accept(server, &listening);
                if (client >= 0 && client < FD_SETSIZE) {
                    FD_SET(client, &open_ones);
                    last = client > last ? client : last;
                }
            } else if (!answer(server, fd)) {
                FD_CLR(fd, &open_ones);
                close(fd);
            }
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: %s tcp HOST PORT | rtu DEVICE UNIT\n", argv[0]);
        return 2;
    }
    if (strcmp(argv[1], "tcp") == 0) {
        modbus_t *server = modbus_new_tcp(argv[2], atoi(argv[3]));
        if (server == NULL)
            fail("modbus_new_tcp");
        for (int unit = 1; unit <= UNITS; unit++)
            tables[unit] = filled(unit);
        serve_network(server);
    } else {
        int unit = atoi(argv[3]);
        modbus_t *line = modbus_new_rtu(argv[2], 19200, 'E', 8, 1);
        if (line == NULL || modbus_set_slave(line, unit) < 0 || modbus_connect(line) < 0)
            fail(argv[2]);
        puts("ready");
        fflush(stdout);
        serve_line(line, filled(unit));
    }
    return 0;
}
