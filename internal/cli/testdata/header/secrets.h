// Written by berth cert header. It holds a private key: keep it out of version control.
#pragma once

#include <pgmspace.h>

#define THINGNAME "lamp\"7\?"
#define AWS_IOT_ENDPOINT "berth.local"

static const char AWS_CERT_CA[] PROGMEM =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBgTCCASegAwIBAgIUMOLb3DB6EjZdyT4jyYh+apmshowwCgYIKoZIzj0EAwIw\n"
    "FTETMBEGA1UEAwwKZXhhbXBsZSBDQTAgFw0yNjExMjEwODU0MjBaGA8yMTI2MTAy\n"
    "ODA4NTQyMFowFTETMBEGA1UEAwwKZXhhbXBsZSBDQTBZMBMGByqGSM49AgEGCCqG\n"
    "SM49AwEHA0IABO9DYPRGVvHg7wB/DlX+saTuiEn3WhbHrMnNjDfY4GMaCrEMv7oy\n"
    "yODHejqiNZTqhgoiRy7vB5K3HwNFoLx2SNmjUzBRMB0GA1UdDgQWBBR7lw8lAhTm\n"
    "dpmgJKdAeWQ3jYwOYTAfBgNVHSMEGDAWgBR7lw8lAhTmdpmgJKdAeWQ3jYwOYTAP\n"
    "BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIAOP21fJagf40JeI3NqU\n"
    "keKTT/gazPpfgwmq/iuV+apFAiEAki3MmVGwaOFxy2jlJGwuQPbSfJdqhwIP8h4A\n"
    "ZnkFnzU=\n"
    "-----END CERTIFICATE-----\n";

static const char AWS_CERT_CRT[] PROGMEM =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBdTCCARugAwIBAgIUEa19+N0fByaJUkpTbhrm9qrO9vgwCgYIKoZIzj0EAwIw\n"
    "DzENMAsGA1UEAwwEbGFtcDAgFw0yNjExMjEwODU0MjBaGA8yMTI2MTAyODA4NTQy\n"
    "MFowDzENMAsGA1UEAwwEbGFtcDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABD+W\n"
    "RpeTmVbNyLpf57qBkWa+UHNTUGVAT/OLQY45PjYExN9dt+/aDJznSDrLkZih7A4u\n"
    "ZCptyIcqsbSP2MTraXejUzBRMB0GA1UdDgQWBBRtpNMUZyapJiDpkcDJ81U6ImNL\n"
    "fTAfBgNVHSMEGDAWgBRtpNMUZyapJiDpkcDJ81U6ImNLfTAPBgNVHRMBAf8EBTAD\n"
    "AQH/MAoGCCqGSM49BAMCA0gAMEUCIFv8QExMvQfPAfMABNJ/8F2ac/OzgSHYoZ92\n"
    "Is9hhvvAAiEArW5/OTB0JRAgUxapJNdkk//NgflncNNn+SG3CDqXsb4=\n"
    "-----END CERTIFICATE-----\n";

static const char AWS_CERT_PRIVATE[] PROGMEM =
    "-----BEGIN EC PRIVATE KEY-----\n"
    "MHcCAQEEIKebnFBIk3OxXgQYUaXt0E+f+FQqZoVVno+1zG5uBohioAoGCCqGSM49\n"
    "AwEHoUQDQgAEP5ZGl5OZVs3Iul/nuoGRZr5Qc1NQZUBP84tBjjk+NgTE312379oM\n"
    "nOdIOsuRmKHsDi5kKm3IhyqxtI/YxOtpdw==\n"
    "-----END EC PRIVATE KEY-----\n";
